"""What users' own tests and drills need."""
