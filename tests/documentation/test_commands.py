"""The commands of the pages and workflows exist, with the options that they are given."""

import pytest
import yaml

from tests.documentation import command_lines, markdown
from tests.documentation.markdown import PAGES
from tests.support.checkpoint import ROOT

WORKFLOWS = [
    *sorted((ROOT / ".github/workflows").glob("*.yml")),
    ROOT / "examples/ci/ttnn-model.yml",
]
BEGINS = (".venv/bin/", "python ", "make ", "pytest ", "ttnn-")  # of a command within a sentence
ELLIPSIS = ("...", "PATH_OR_URL", "TARGET")


def commands(text):
    """Simple commands of a page: of its blocks of shell, and in its sentences."""
    for fence in markdown.fences(text):
        if fence.language == "sh":
            yield from command_lines.lines(fence.text)
    for code in markdown.inline(text):
        if code.startswith(BEGINS) and " " in code and not any(e in code for e in ELLIPSIS):
            yield code


@pytest.mark.parametrize("page", PAGES, ids=markdown.name)
def test_the_commands_of_a_page_exist(page):
    found = dict.fromkeys(commands(page.read_text()))
    assert [sentence for line in found for sentence in command_lines.wrong(line)] == []


def test_the_options_in_sentences_exist():
    """Of any command: which one it is, the sentence says."""
    known = [("eval.py",), ("-m", "ttnn_verify.drift"), ("scripts/run_eval.py",)]
    known += [("-m", "pytest", *command_lines.SUITE), ("-m", "pytest")]
    known += [("-m", "ttnn_verify.precision")]
    known += [("-m", "ttnn_emulator"), ("-m", "ttnn_verify.baseline"), ("scripts/pages.py",)]
    texts = " ".join(map(command_lines.help_of, known))
    others = {"--max-worker-restart", "--write", "--pyargs", "--cases", "--family", "--layers"}
    missing = {
        (markdown.name(page), option)
        for page in PAGES
        for code in markdown.inline(page.read_text())
        if code.startswith("--")
        for option in [word.partition("=")[0] for word in code.split() if word.startswith("--")]
        if option not in others and option not in texts
    }
    assert not missing


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_commands_of_a_workflow_exist(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert runs
    lines = [line for run in runs for line in command_lines.lines(run)]
    assert [sentence for line in lines for sentence in command_lines.wrong(line)] == []


# --- the rules themselves ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("make evaluate", "make has no target 'evaluate'"),
        (".venv/bin/python eval.py x.py --max_tokens 3", "eval.py has no option --max_tokens"),
        ("ttnn-drift x.py --firs", "-m ttnn_verify.drift has no option --firs"),
        ("git bisect run ttnn-drift x.py --firs", "-m ttnn_verify.drift has no option --firs"),
        ("python evaluate.py", "unknown program: there is no 'evaluate.py': 'python evaluate.py'"),
        ("ttnn-test x", "unknown program: 'ttnn-test' in 'ttnn-test x'"),
    ],
)
def test_a_command_that_does_not_exist_is_seen(line, sentence):
    assert command_lines.wrong(line) == [sentence]


def test_a_block_of_shell_is_taken_apart():
    block = "rm -rf a && make eval  # both\n# no more\nsed x \\\n  y > z\ncmd; echo $?\n"
    assert list(command_lines.lines(block)) == [
        "rm -rf a",
        "make eval",
        "sed x    y",
        "cmd",
        "echo $?",
    ]
