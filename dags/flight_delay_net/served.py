"""What is served: a row's way to numbers, and the network as ONNX. It needs no PyTorch."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler


class Encoder:
    """Text as codes from 1 on, 0 for what is missing or was never seen; numbers around 0, a missing one as the median and
    a column that says so."""

    def fit(self, X):  # noqa: N803
        self.words = [name for name in X if X[name].dtype != "float64"]
        self.figures = [name for name in X if name not in self.words]
        self.codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
        self.codes.fit(X[self.words])
        self.scale = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
        ).fit(X[self.figures])
        self.sizes = [len(values) + 1 for values in self.codes.categories_]
        return self

    def transform(self, X):  # noqa: N803
        """Codes and numbers of some rows."""
        codes = self.codes.transform(X[self.words]).astype("int64") + 1
        return codes, self.scale.transform(X[self.figures]).astype("float32")


class Exported(ClassifierMixin, BaseEstimator):
    """A classifier of two classes that answers by ONNX Runtime.

    Args:
        encoder: a fitted `Encoder`.
        network: an ONNX file's bytes: from ``codes`` and ``numbers`` to ``logit``.
        curve: how the loss went, to be shown.
    """

    def __init__(self, encoder, network, curve):
        self.encoder = encoder
        self.network = network
        self.evals_result_ = curve
        self.classes_ = np.array([0, 1])

    def predict_proba(self, X):  # noqa: N803
        codes, numbers = self.encoder.transform(X)
        (logit,) = self.session().run(["logit"], {"codes": codes, "numbers": numbers})
        late = 1 / (1 + np.exp(-logit.astype("float64")))
        return np.column_stack([1 - late, late])

    def session(self):
        if "running" not in vars(self):
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # a request has few rows
            self.running = onnxruntime.InferenceSession(self.network, options, providers=["CPUExecutionProvider"])
        return self.running

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "running"}
