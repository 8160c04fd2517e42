"""Independent queries are sent to a server in parallel, and to a database one after the other."""

from __future__ import annotations

import threading
from typing import cast

import pytest
from mlflow import MlflowClient

from frm_mlflow.tracking.pages import Selection, together


class Client:
    """The part of a client that `together` uses."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri


def selection(uri: str) -> Selection:
    return Selection(cast(MlflowClient, Client(uri)), ("1",))


def test_a_server_is_asked_at_the_same_time_and_answers_keep_their_order():
    both_have_come = threading.Barrier(2, timeout=30)

    def ask(answer: str) -> str:
        both_have_come.wait()  # breaks if one query waits for the other to end
        return answer

    found = together(selection("http://127.0.0.1:1"), lambda: ask("first"), lambda: ask("second"))
    assert found == ["first", "second"]


def test_a_database_is_asked_in_turn_by_the_thread_that_has_it():
    order: list[tuple[str, int]] = []
    calls = [lambda name=name: order.append((name, threading.get_ident())) for name in ("a", "b", "c")]
    together(selection("sqlite:///x.db"), *calls)
    assert order == [(name, threading.get_ident()) for name in ("a", "b", "c")]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "sqlite:///x.db"])
def test_what_one_raises_is_raised(uri: str):
    def broken() -> None:
        raise RuntimeError("no answer")

    with pytest.raises(RuntimeError, match="no answer"):
        together(selection(uri), lambda: 1, broken)
