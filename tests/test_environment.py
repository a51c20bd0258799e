# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Faults of an environment, in folders of installed packages that the tests write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from vicmae.environment import (
    REQUIRED,
    VIDEO_READERS,
    Fault,
    check_environment,
    decord_has_wheel,
    find_faults,
    fix_reader,
    missing_reader,
)
from vicmae.errors import EnvironmentFault, VicmaeError

ROOT = Path(__file__).parents[1]

# The message that a torchvision gives beside a torch that it wasn't compiled for.
BROKEN_TORCHVISION = "raise RuntimeError('operator torchvision::nms does not exist')"


class Site:
    """A folder of installed packages, as `site-packages` is one.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = [str(folder)]

    def add(self, name, version, module=None, requires=(), code=''):
        """Install a distribution: its metadata, and the module if one is named."""
        info = self.folder / f'{name.replace("-", "_")}-{version}.dist-info'
        info.mkdir(parents=True)
        header = ['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}']
        lines = header + [f'Requires-Dist: {requirement}' for requirement in requires]
        (info / 'METADATA').write_text('\n'.join(lines) + '\n')
        if module:
            (self.folder / module).mkdir(exist_ok=True)
            (self.folder / module / '__init__.py').write_text(code)

    def remove(self, name):
        """Remove a distribution and its module."""
        for info in self.folder.glob(f'{name.replace("-", "_")}-*.dist-info'):
            (info / 'METADATA').unlink()
            info.rmdir()
        module = self.folder / REQUIRED.get(name, name)
        (module / '__init__.py').unlink()
        module.rmdir()

    def run(self, *arguments):
        """Run Python with these packages, the checkout of vicmae and nothing else."""
        env = {**os.environ, 'PYTHONPATH': os.pathsep.join([*self.path, str(ROOT)])}
        command = [sys.executable, '-S', *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def site(tmp_path):
    """Makes a site with compatible packages."""
    site = Site(tmp_path / 'site')
    site.add('torch', '2.12.1', 'torch')
    site.add('torchvision', '0.27.1', 'torchvision', requires=['numpy', 'torch (==2.12.1)'])
    for name, module in REQUIRED.items():
        if 'torch' not in name:
            site.add(name, '1.0', module)
    return site


def the_fault(site) -> Fault:
    """The only fault of a site."""
    (fault,) = find_faults(site.path)
    return fault


def test_no_fault_is_found_in_a_compatible_environment(site):
    assert find_faults(site.path) == []
    check_environment(site.path)


def test_this_environment_has_no_fault():
    check_environment()


@pytest.mark.parametrize(
    ('old', 'fork'),
    [
        ('mmengine', 'onedl-mmengine'),
        ('mmcv-lite', 'onedl-mmcv'),
        ('mmpretrain', 'onedl-mmpretrain'),
    ],
)
def test_old_package_next_to_its_fork_is_removed_and_the_fork_reinstalled(site, old, fork):
    site.add(old, '0.10.7')
    fault = the_fault(site)
    assert fault.found == f'{old} 0.10.7, {fork} 1.0'
    assert fault.fix == (
        f'{sys.executable} -m pip uninstall -y {old} && '
        f'{sys.executable} -m pip install --force-reinstall --no-deps {fork}==1.0'
    )


def test_old_package_instead_of_its_fork_is_replaced(site):
    site.remove('onedl-mmengine')
    site.add('mmengine', '0.10.7', 'mmengine')
    fault = the_fault(site)
    assert fault.found == 'mmengine 0.10.7'
    assert fault.fix.endswith('uninstall -y mmengine && ' + pip_install('onedl-mmengine'))


def test_several_old_packages_are_one_fault_with_one_command(site):
    site.add('mmengine', '0.10.7')
    site.add('mmcv', '2.1.0')
    fault = the_fault(site)
    assert 'uninstall -y mmengine mmcv && ' in fault.fix
    assert fault.fix.endswith('onedl-mmengine==1.0 onedl-mmcv==1.0')


def pip_install(arguments: str) -> str:
    return f'{sys.executable} -m pip install {arguments}'


def test_torch_without_torchvision_gets_the_one_that_belongs_to_it(site):
    site.remove('torchvision')
    fault = the_fault(site)
    assert fault.found == 'torch 2.12.1'
    assert fault.fix == pip_install('torchvision torch==2.12.1')


def test_torch_for_cpus_without_torchvision_is_completed_from_the_same_index(site):
    site.remove('torchvision')
    site.remove('torch')
    site.add('torch', '2.13.0+cpu', 'torch')
    index = 'https://download.pytorch.org/whl/cpu'
    assert the_fault(site).fix == pip_install(f'torchvision torch==2.13.0+cpu --index-url {index}')


def test_torch_of_unknown_origin_is_never_replaced(site):
    site.remove('torchvision')
    site.remove('torch')
    site.add('torch', '2.9.0a0+5f3a.nv26', 'torch')
    assert the_fault(site).fix == pip_install('torchvision torch==2.9.0a0+5f3a.nv26')


def test_torchvision_without_torch_gets_the_one_that_it_requires(site):
    site.remove('torch')
    fault = the_fault(site)
    assert fault.found == 'torchvision 0.27.1'
    assert fault.fix == pip_install('torch==2.12.1')


@pytest.mark.parametrize('requirement', ['torch (==2.11.0)', 'torch==2.11.0', 'torch == 2.11.0'])
def test_torchvision_of_another_torch_is_suspected(site, requirement):
    site.remove('torchvision')
    site.add('torchvision', '0.26.0', 'torchvision', requires=[requirement])
    fault = the_fault(site)
    assert fault.what == 'torchvision 0.26.0 needs torch 2.11.0'
    assert fault.found == 'torch 2.12.1, torchvision 0.26.0'
    assert fault.fix == pip_install('torchvision torch==2.12.1')
    assert fault.proof == 'torchvision'


@pytest.mark.parametrize('requirement', ['torch', 'torch>=2.4', 'torchdata==0.1', 'torch-extra==3'])
def test_torchvision_that_names_no_release_of_torch_is_not_suspected(site, requirement):
    site.remove('torchvision')
    site.add('torchvision', '0.26.0', 'torchvision', requires=[requirement])
    assert find_faults(site.path) == []


@pytest.mark.parametrize(
    ('torch', 'torchvision', 'suspected'),
    [
        ('2.12.1+cpu', '0.27.1', True),
        ('2.12.1', '0.27.1+cpu', True),
        ('2.12.1+cu130', '0.27.1+cpu', True),
        ('2.12.1+cpu', '0.27.1+cpu', False),
        ('2.12.1+cu130', '0.27.1', False),
        ('2.12.1+5f3a.nv26', '0.27.1+77c0.nv26', False),
    ],
)
def test_builds_are_suspected_if_one_of_them_is_for_cpus(site, torch, torchvision, suspected):
    site.remove('torch')
    site.remove('torchvision')
    site.add('torch', torch, 'torch')
    site.add('torchvision', torchvision, 'torchvision', requires=['torch==2.12.1'])
    assert [fault.proof for fault in find_faults(site.path)] == ['torchvision'] * suspected


def test_missing_packages_are_one_fault_with_one_command(site):
    site.remove('numpy')
    site.remove('einops')
    fault = the_fault(site)
    assert fault.found == 'no numpy, einops'
    assert fault.fix == pip_install('numpy einops')


def test_package_with_missing_files_is_reinstalled(site):
    # What `pip uninstall mmengine` leaves of a fork: its metadata, and a folder without modules.
    (site.folder / 'mmengine' / '__init__.py').unlink()
    fault = the_fault(site)
    assert fault.found == 'onedl-mmengine 1.0'
    assert fault.fix == pip_install('--force-reinstall --no-deps onedl-mmengine==1.0')


def test_video_readers_other_than_av_are_optional(site):
    assert not {*VIDEO_READERS} & {*REQUIRED}
    site.add('decord', '0.6.0', 'decord')
    assert find_faults(site.path) == []
    site.remove('decord')
    assert find_faults(site.path) == []


def test_missing_reader_error_says_how_to_install_it():
    error = missing_reader('torchcodec', OSError('libavutil.so.60: cannot open shared object file'))
    assert isinstance(error, EnvironmentFault)
    assert str(error).startswith('torchcodec cannot read videos here: ')
    assert 'FFmpeg with its shared libraries (apt-get install ffmpeg)' in str(error)


@pytest.mark.parametrize(('system', 'fix'), [('linux', 'pip install'), ('darwin', 'wheels for')])
def test_decord_advice_depends_on_its_wheels(monkeypatch, system, fix):
    monkeypatch.setattr('sys.platform', system)
    monkeypatch.setattr('platform.machine', lambda: 'x86_64')
    assert fix in fix_reader('decord')


def test_one_error_lists_all_faults(site):
    site.remove('torchvision')
    site.remove('numpy')
    site.add('mmcv', '2.1.0')
    with pytest.raises(EnvironmentFault) as caught:
        check_environment(site.path)
    message = str(caught.value)
    assert '1. original OpenMMLab' in message
    assert '2. torch is installed without torchvision' in message
    assert '3. required packages are not installed' in message
    assert message.count('fix:') == 3
    assert isinstance(caught.value, VicmaeError) and isinstance(caught.value, ImportError)


def test_import_of_vicmae_is_quiet_and_light_in_a_compatible_environment(site):
    # The torch of this site can't be imported, so that the test fails if it is tried.
    (site.folder / 'torch' / '__init__.py').write_text('raise SystemExit("imported torch")')
    result = site.run('-c', 'import vicmae; print(vicmae.__version__)')
    assert (result.returncode, result.stderr) == (0, '')


def test_import_of_vicmae_fails_with_a_message_if_a_package_is_missing(site):
    site.remove('einops')
    result = site.run('-c', 'import vicmae')
    assert result.returncode == 1
    assert 'vicmae.errors.EnvironmentFault: vicmae does not work' in result.stderr
    assert pip_install('einops') in result.stderr


def test_suspected_pair_is_refused_if_torchvision_fails_to_import(site):
    site.remove('torch')
    site.add('torch', '2.12.1+cpu', 'torch')
    (site.folder / 'torchvision' / '__init__.py').write_text(BROKEN_TORCHVISION)
    result = site.run('-c', 'import vicmae')
    assert result.returncode == 1
    assert 'found: torch 2.12.1+cpu, torchvision 0.27.1' in result.stderr
    index = 'https://download.pytorch.org/whl/cpu'
    reinstall = f'--force-reinstall --no-deps torchvision==0.27.1+cpu --index-url {index}'
    assert pip_install(reinstall) in result.stderr


def test_suspected_pair_is_accepted_if_torchvision_imports(site):
    site.remove('torch')
    site.add('torch', '2.12.1+cpu', 'torch')
    result = site.run('-c', 'import vicmae')
    assert (result.returncode, result.stderr) == (0, '')


def test_required_packages_are_those_of_the_requirements_file():
    lines = (ROOT / 'requirements' / 'runtime.txt').read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith('#')]
    assert {requirement.name for requirement in requirements} == {*REQUIRED, 'decord'}


@pytest.mark.parametrize(
    ('system', 'machine', 'has_wheel'),
    [
        ('linux', 'x86_64', True),
        ('win32', 'AMD64', True),
        ('linux', 'aarch64', False),
        ('darwin', 'arm64', False),
        ('darwin', 'x86_64', False),
    ],
)
def test_decord_is_installed_where_it_has_wheels(system, machine, has_wheel):
    lines = (ROOT / 'requirements' / 'runtime.txt').read_text().splitlines()
    (line,) = [line for line in lines if line.startswith('decord')]
    marker = Requirement(line).marker
    assert decord_has_wheel(system, machine) is has_wheel
    assert marker.evaluate({'sys_platform': system, 'platform_machine': machine}) is has_wheel
