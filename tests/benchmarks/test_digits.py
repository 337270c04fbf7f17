from __future__ import annotations

from snn4.benchmarks.digits import digits, train


def test_a_spiking_mlp_learns_digits() -> None:
    untrained, trained = (train(epochs, seed=0)["test_accuracy"] for epochs in (0, 4))
    assert trained > untrained + 0.5


def test_training_is_repeatable() -> None:
    assert train(epochs=1, seed=3)["test_accuracy"] == train(epochs=1, seed=3)["test_accuracy"]


def test_train_and_test_images_are_apart() -> None:
    x_train, x_test, y_train, y_test = digits(seed=0)
    assert len(x_train) + len(x_test) == 1797
    train_rows = {tuple(row.tolist()) for row in x_train}
    assert not any(tuple(row.tolist()) in train_rows for row in x_test)
    assert set(y_train.tolist()) == set(y_test.tolist()) == set(range(10))
