#!/bin/sh
# Print a Python that ttnn has wheels for (CPython 3.12 or 3.10), or say in one line that there is none.
suitable() {
    "$1" -c "import sys, venv, ensurepip
sys.exit(sys.version_info[:2] != ($2) or sys.implementation.name != 'cpython')" 2>/dev/null
}

for version in 3.12 3.10; do
    pair=$(echo "$version" | tr . ,)
    for python in "python$version" python3 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"/bin/python; do
        path=$(command -v "$python") && suitable "$path" "$pair" && echo "$path" && exit 0
    done
done
echo "No suitable Python: ttnn needs CPython 3.12 or 3.10 (with venv) and neither is on PATH or in pyenv." >&2
exit 2
