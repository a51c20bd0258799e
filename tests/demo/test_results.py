# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from importlib.metadata import distributions

from vicmae.demo.results import machine_facts


def test_report_names_the_packages_that_are_there(tmp_path, monkeypatch):
    for package in distributions():
        if package.name in ('torch', 'av'):  # and no decord, which has no wheels for ARM
            (tmp_path / f'{package.name}-{package.version}.dist-info').symlink_to(package._path)
    monkeypatch.setattr('sys.path', [str(tmp_path)])
    names = [package.split()[0] for package in machine_facts()['Packages'].split(', ')]
    assert names == ['vicmae', 'torch', 'av']
