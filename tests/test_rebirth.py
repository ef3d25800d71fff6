"""A process that begins again: how often it may, and what it is told. The replacing itself is seen in tests/e2e."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import pytest

from minimon_server.environment import unknown_variables
from minimon_server.errors import StartupError
from minimon_server.rebirth import GIVEN_UP, MOST, QUIET_SECONDS, VARIABLE, begin_again, restarts


class Replaced(Exception):
    pass


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def execve(*arguments: Any) -> NoReturn:
        calls.append(arguments)
        raise Replaced

    monkeypatch.setattr(os, "execve", execve)
    return calls


def test_the_same_command_with_the_same_environment_and_a_count(told: list[tuple[Any, ...]]) -> None:
    environ = {"MINIMON_PORT": "1", VARIABLE: "90 95"}
    with pytest.raises(Replaced):
        begin_again(environ, drew=False, patience=10, now=100.0)
    ((program, arguments, passed),) = told
    assert program == arguments[0] == sys.executable
    assert arguments[1:] == sys.orig_argv[1:]
    assert passed == {"MINIMON_PORT": "1", VARIABLE: "90 95 100"}
    assert not unknown_variables(passed)


def test_a_fourth_in_a_row_is_given_up(told: list[tuple[Any, ...]]) -> None:
    environ = {VARIABLE: " ".join(["100"] * MOST)}
    with pytest.raises(StartupError, match="4 times") as caught:
        begin_again(environ, drew=False, patience=300, now=101.0)
    assert caught.value.exit_status == GIVEN_UP
    assert not told


def test_a_picture_or_time_between_them_begins_a_new_count(told: list[tuple[Any, ...]]) -> None:
    environ = {VARIABLE: " ".join(["100"] * MOST)}
    with pytest.raises(Replaced):
        begin_again(environ, drew=True, patience=300, now=101.0)
    with pytest.raises(Replaced):
        begin_again(environ, drew=False, patience=300, now=100.0 + QUIET_SECONDS + MOST * 300)
    assert told[0][2][VARIABLE] == "101"


def test_what_somebody_else_wrote_there_counts_for_nothing() -> None:
    assert restarts({VARIABLE: "ten 5"}) == [5.0]
    assert restarts({}) == []


def test_a_program_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(StartupError, match="cannot begin again: /nowhere/python: No such file") as caught:
        begin_again({}, drew=False, patience=1, now=1.0)
    assert caught.value.exit_status == GIVEN_UP
