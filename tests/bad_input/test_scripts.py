"""`python -m ttnn_emulator` says of a file that is no script what it is, before TTNN is set up."""

import pytest

from ttnn_emulator import __main__ as emulate
from ttnn_verify import cli


@pytest.fixture
def refused(capfd):
    """Run the command, which must refuse. Returns its one line."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            emulate.main([str(word) for word in arguments])
        out, err = capfd.readouterr()
        assert (exit.value.code, out, err.count("\n")) == (cli.WRONG_USE, "", 1)
        assert err.startswith("error: ")
        assert err.endswith(".\n")
        return err

    return run


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        (b"Once upon a time", "is not Python: invalid syntax (line 1)"),
        (b"x = 1\ndef f(:", "(line 2)"),
        (b"\x00", "null bytes"),
        (b"x = '\xe9'", "utf-8"),
        (b"# -*- coding: nonsense -*-", "unknown encoding: nonsense"),
        (b"x = " + b"(" * 1000 + b")" * 1000, "too many nested parentheses"),
        (b"x = " + b"-" * 100_000 + b"1", "is not Python"),
    ],
)
def test_a_script_that_is_not_python(refused, tmp_path, contents, says):
    script = tmp_path / "script.py"
    script.write_bytes(contents)
    line = refused(script)
    assert says in line
    assert str(script) in line


@pytest.mark.parametrize("name", ["", "nowhere.py", "x" * 300, "."])
def test_a_script_that_is_not_there(refused, name):
    refused(name)


def test_wrong_options_are_one_line(refused):
    assert "'exact'" in refused("--arithmetic", "exact", "script.py")
    assert "script" in refused()
