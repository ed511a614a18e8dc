"""Passwords of addresses are neither shown nor kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from clplat.addresses import masked, without_password
from clplat.errors import UserError
from clplat.tracking.failures import failure_message
from clplat.tracking.server import links
from clplat.tracking.store import tracked

SECRET = "s3cr%2Ft"
ADDRESS = f"http://ann:{SECRET}@127.0.0.1:9/mlflow?token=t0p"


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        (ADDRESS, "http://ann@127.0.0.1:9/mlflow"),
        ("postgresql+psycopg2://ann:a/b@db/optuna", "postgresql+psycopg2://ann@db/optuna"),
        ("postgresql://db.lab/optuna", "postgresql://db.lab/optuna"),
        ("grpc://host:13000", "grpc://host:13000"),
        ("sqlite:////home/me@work/a:b/mlflow.db", "sqlite:////home/me@work/a:b/mlflow.db"),
        ("file:///runs/mlruns", "file:///runs/mlruns"),
        ("./mlruns", "./mlruns"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_shown_without_its_secrets(where: str, shown: str) -> None:
    assert without_password(where) == shown == without_password(shown)


def test_errors_say_no_password() -> None:
    text = f"cannot reach {ADDRESS}: ann:s3cr/t was refused"
    assert masked(text, ADDRESS) == "cannot reach http://ann:***@127.0.0.1:9/mlflow?***: ann:*** was refused"
    assert masked(text, "sqlite:////x") == text
    line = failure_message(ADDRESS, f"MlflowException: {'x' * 236} {ADDRESS}")
    assert "s3cr" not in line and "t0p" not in line and "http://ann@127.0.0.1:9/mlflow" in line


def test_a_store_that_does_not_answer_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = r"http://ann@127\.0\.0\.1:9/mlflow does not answer"
    with pytest.raises(UserError, match=said) as caught, tracked(tmp_path):
        pass
    assert "s3cr" not in str(caught.value) and "t0p" not in str(caught.value)
    assert links(tmp_path) == {}
