"""What runs inside a model's server."""
