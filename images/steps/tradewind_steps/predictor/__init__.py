"""Custom predictors: an author's class in the form of Seldon's Python wrapper, as a model folder and as a server.

The same class answers where it is trained and judged (`pyfunc`, in the train environment) and where it serves (`server`, in
that of images/predictor), so what the gate measures is what clients get.
"""
