"""Links to MLflow's UI, printed after a command has logged benchmarks."""

import pytest

from frm_mlflow.tracking.views import VIEWS, links


def test_a_local_store_gets_the_command_that_serves_it() -> None:
    found = links("sqlite:///mlflow.db", "7")
    assert found.lines()[0].endswith("mlflow server --app-name frm --backend-store-uri sqlite:///mlflow.db")
    assert found.table == "http://127.0.0.1:5000/#/experiments/7/runs?viewStateShareKey=frm-cheapest"


@pytest.mark.parametrize("uri", ["http://host:5000", "http://host:5000/", "http://me:secret@host:5000"])
def test_a_server_is_linked_without_its_password(uri: str) -> None:
    found = links(uri, "7")
    assert found.start == ""
    assert found.page == "http://host:5000/frm"
    assert "secret" not in "".join(found.lines())


def test_the_link_opens_a_view_that_exists() -> None:
    assert links("http://host", "1").table.rpartition("=")[2] in {view.key for view in VIEWS}
