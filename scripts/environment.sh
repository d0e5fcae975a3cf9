# Sourced by the scripts beside it: makes .venv with everything pinned, or sees that it is up to date.
#
#   prepare_environment [EXTRAS]      EXTRAS as in pyproject.toml, for example "dev"
#
# Two stamps in .venv say what was installed. Without a change there is nothing to do; after a change of the
# native sources only the package itself is built again, which needs no network.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
python=$venv/bin/python

say() { printf '==> %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

prepare_environment() {
    local extras=${1:-} requirements native
    cd "$root"
    if [[ -z $(python_version) ]]; then
        require_python
        say "making .venv with $(python3 --version)"
        python3 -m venv "$venv"
        rm -f "$venv"/*.stamp
    fi

    requirements=$(digest "$(python_version)" pyproject.toml scripts/constraints.txt)
    native=$(digest "$root ${DIMVIDA_CUDA:-auto} ${DIMVIDA_CUDA_ARCHS:-} ${CUDACXX:-$(command -v nvcc || true)}" \
        setup.py CMakeLists.txt cmake csrc dimvida/_version.py)
    if ! is_stamped requirements "$requirements" "$extras"; then
        require_compiler
        say "installing the build tools"
        quiet_pip --constraint scripts/constraints.txt setuptools wheel pybind11 ninja cmake
        say "installing dimvida and what it needs${extras:+, with [$extras]} (the first time takes minutes)"
        quiet_pip --constraint scripts/constraints.txt --no-build-isolation --editable ".${extras:+[$extras]}"
        stamp requirements "$requirements" "$extras"
        stamp native "$native"
    elif ! is_stamped native "$native" || ! compgen -G "dimvida/ops/_native*.so" >/dev/null; then
        require_compiler
        say "building the native module again"
        quiet_pip --no-index --no-deps --no-build-isolation --editable .
        stamp native "$native"
    else
        say ".venv is up to date"
    fi
}

# The version of .venv's python, or nothing if there is none that can be used.
python_version() {
    "$python" -c 'import pip, sys; print(sys.version if sys.version_info >= (3, 10) else "")' 2>/dev/null || true
}

require_python() {
    local problem
    command -v python3 >/dev/null || fail "python3 is missing: apt install python3 python3-venv"
    problem=$(python3 -c '
import sys
if sys.version_info < (3, 10):
    print("python3 is %d.%d, but 3.10 or newer is needed: put a newer one first on PATH" % sys.version_info[:2])
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("python3 cannot make environments: apt install python3-venv")
') || fail "python3 does not run: apt install --reinstall python3"
    [[ -z $problem ]] || fail "$problem"
}

require_compiler() {
    command -v "${CXX:-c++}" >/dev/null || fail "there is no C++ compiler (${CXX:-c++}): apt install g++"
}

# Errors only.
quiet_pip() { "$python" -m pip --quiet --quiet --disable-pip-version-check install "$@"; }

# One hash over a text and over the names and contents of files and folders.
digest() {
    local text=$1
    shift
    {
        printf '%s\n' "$text"
        find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    } | sha256sum | cut -d ' ' -f 1
}

# A stamp is a hash and the extras that were installed with it; more extras than asked for are fine.
stamp() { printf '%s %s\n' "$2" "${3:-}" >"$venv/$1.stamp"; }

is_stamped() {
    local hash extras
    read -r hash extras 2>/dev/null <"$venv/$1.stamp" || return 1
    [[ $hash == "$2" && (-z ${3:-} || $extras == "$3") ]]
}
