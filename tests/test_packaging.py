# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`pip install .` installs all of the project, and nothing that works only in a checkout.

The environments that the tests make see the third-party packages of this one, so that torch isn't
installed again. `make test-newest` and `make test-oldest` install all dependencies (5 GB).
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

# What the package is built from.
SOURCES = (
    'setup.py',
    'pyproject.toml',
    'MANIFEST.in',
    'README.md',
    'CHANGELOG.md',
    'LICENSE',
    'model-index.yml',
    'requirements.txt',
    'requirements',
    'configs',
    'tools',
    'vicmae',
)


def run(*command, cwd):
    """Run a command that must succeed, away from the checkout, and return what it printed."""
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    command = [str(part) for part in command]
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f'{command}:\n{result.stdout}\n{result.stderr}'
    return result.stdout


def files_below(folder: Path) -> set[str]:
    """Paths of all files, relative to the folder, without caches."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and not {'__pycache__', '.mim'} & set(path.parts)
    }


@pytest.fixture(scope='module')
def folder():
    """A folder that is removed at once, since a full installation is large."""
    with tempfile.TemporaryDirectory(prefix='vicmae-packaging-') as name:
        yield Path(name)


@pytest.fixture(scope='module')
def source(folder):
    """A copy of the checkout, since building leaves files behind."""
    copy = folder / 'source'
    copy.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            ignored = shutil.ignore_patterns('__pycache__', '.mim')
            shutil.copytree(path, copy / name, ignore=ignored)
        else:
            shutil.copy(path, copy / name)
    # What an interrupted or older build may have left: none of it may be shipped.
    stale = copy / 'build' / 'lib' / 'vicmae'
    (stale / '.mim' / 'configs').mkdir(parents=True)
    (stale / 'deleted.py').touch()
    (stale / '.mim' / 'configs' / 'deleted.py').touch()
    return copy


@pytest.fixture(scope='module')
def wheel(folder, source):
    """The wheel built from the checkout."""
    return build_wheel(source, folder / 'wheel')


def build_wheel(source: Path, target: Path) -> Path:
    """Build a wheel without a connection to the package index."""
    options = ['--no-deps', '--no-build-isolation', '--no-index', '--quiet', '--wheel-dir', target]
    run(sys.executable, '-m', 'pip', 'wheel', *options, source, cwd=source.parent)
    return next(target.glob('vicmae-*.whl'))


def make_environment(folder: Path) -> Path:
    """Make a virtual environment that sees the packages of the one that runs the tests, and return its Python.

    Their folders become a part of its search path; `.pth` files in them, such as those of an editable
    vicmae, have no effect there.
    """
    # pip and setuptools are among the packages that it sees, newer than those that venv brings.
    run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=folder.parent)
    python = folder / ('Scripts/python.exe' if sys.platform == 'win32' else 'bin/python')
    own = run(python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))', cwd=folder)
    seen = [path for path in sys.path if Path(path).name in ('site-packages', 'dist-packages')]
    (Path(own.strip()) / 'seen.pth').write_text('\n'.join(seen) + '\n')
    return python


@pytest.fixture(scope='module')
def installed_python(folder, wheel):
    """The Python of an environment with the wheel."""
    python = make_environment(folder / 'environment')
    options = ['--no-deps', '--no-build-isolation']
    run(python, '-m', 'pip', 'install', '--quiet', *options, wheel, cwd=folder)
    return python


@pytest.mark.slow
def test_installed_command_trains_tests_and_reports_in_an_empty_folder(folder, installed_python):
    vicmae, place = installed_python.with_name('vicmae'), folder / 'empty'
    place.mkdir()
    assert 'configs' in run(vicmae, '--help', cwd=place)
    config = run(vicmae, 'configs', '--path', 'vicmae_vit-tiny-p8_debug', cwd=place).strip()
    assert Path(config).is_relative_to(folder / 'environment')
    # It starts `vicmae train` once and `vicmae test` twice.
    said = run(vicmae, 'demo', '--config', 'vicmae_vit-tiny-p8_debug', cwd=place)
    assert re.search(r'kNN on videos: +[\d.]+ %', said)
    assert (place / 'work_dirs/demo/iter_16.pth').is_file()
    assert (place / 'work_dirs/demo/report.html').is_file()
    launched = ['-m', 'torch.distributed.run', '--nproc-per-node=2', '-m', 'vicmae', 'train']
    options = ['--launcher', 'pytorch', '--work-dir', 'two', '--no-validate']
    run(
        *(installed_python, *launched, 'vicmae_vit-tiny-p8_debug', *options),
        *('--cfg-options', 'train_cfg.max_epochs=1'),
        cwd=place,
    )
    assert (place / 'two/iter_4.pth').is_file()


@pytest.mark.slow
def test_wheel_has_all_modules_configs_and_tools_and_nothing_stale(wheel):
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith('vicmae/')}
    expected = {f'vicmae/{name}' for name in files_below(ROOT / 'vicmae')}
    expected |= {f'vicmae/.mim/configs/{name}' for name in files_below(ROOT / 'configs')}
    expected |= {f'vicmae/.mim/tools/{name}' for name in files_below(ROOT / 'tools')}
    assert shipped == expected | {'vicmae/.mim/model-index.yml'}


@pytest.mark.slow
def test_wheel_requires_what_the_requirements_file_says(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith('.dist-info/METADATA')]
    lines = archive.read(name).decode().splitlines()
    required = [line.partition(': ')[2] for line in lines if line.startswith('Requires-Dist: ')]
    unconditional = [Requirement(line) for line in required if 'extra ==' not in line]
    assert {entry.name for entry in unconditional} == set(declared('runtime'))
    extras = {line.partition(': ')[2] for line in lines if line.startswith('Provides-Extra: ')}
    assert extras == {'tests', 'docs', 'optional', 'curves', 'exports', 'features', 'all'}


@pytest.mark.slow
def test_wheel_built_from_the_source_distribution_has_the_same_files(folder, source, wheel):
    code = 'import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])'
    run(sys.executable, '-c', code, folder / 'sdist', cwd=source)
    archive = next((folder / 'sdist').glob('vicmae-*.tar.gz'))
    with tarfile.open(archive) as tar:
        assert not [name for name in tar.getnames() if name.endswith('.pyc') or '/.mim' in name]
    again = build_wheel(archive, folder / 'wheel-from-sdist')
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['wheel', 'editable'])
def test_configs_are_found_however_vicmae_is_installed(request, folder, source, mode):
    if mode == 'wheel':
        python = request.getfixturevalue('installed_python')
    else:
        python = make_environment(folder / 'editable')
        options = ['--no-deps', '--no-build-isolation', '--quiet']
        run(python, '-m', 'pip', 'install', *options, '-e', '.', cwd=source)
        assert (source / 'vicmae' / '.mim' / 'configs').resolve() == (source / 'configs').resolve()
    code = (
        'from mmengine import Config; from vicmae.config.paths import project_file;'
        'path = project_file("configs/_base_/default_runtime.py");'
        'print(Config.fromfile(path).default_scope, path)'
    )
    scope, path = run(python, '-I', '-c', code, cwd=folder).split()
    assert scope == 'vicmae'
    assert Path(path).is_relative_to(folder)


def declared(name: str) -> list[str]:
    """Names of the distributions in a file of `requirements/`."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [Requirement(line).name for line in lines if line and not line.startswith('#')]


def imported_modules(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split('.')[0])
    return names


def test_what_is_imported_is_what_is_required():
    files = [*(ROOT / 'vicmae').rglob('*.py'), *(ROOT / 'tools').rglob('*.py')]
    modules = set().union(*map(imported_modules, files)) - set(sys.stdlib_module_names) - {'vicmae'}
    providers = packages_distributions()
    # A module that isn't installed has no provider: its own name then shows what is missing.
    imported = {name.lower() for module in modules for name in providers.get(module, [module])}
    # torchvision is mmpretrain's need, and named because it has to be torch's pair.
    required = set(declared('runtime')) - {'torchvision'}
    # Without desktop libraries, `make setup` takes the flavour of OpenCV that has no windows.
    imported = {name.removesuffix('-headless') for name in imported}
    optional = {name for extra in ('optional', 'exports', 'features') for name in declared(extra)}
    assert imported - optional == required
