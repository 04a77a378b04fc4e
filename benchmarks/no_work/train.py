"""A training without work: what is left of a trial is what a trial costs."""

from sklearn.dummy import DummyRegressor


def train(dataset, params):
    return DummyRegressor(strategy="constant", constant=params["guess"]).fit(dataset.train.X, dataset.train.y)
