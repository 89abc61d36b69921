from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


setup(
    name='mmentropy',
    version='0.1.0',
    description='Self-supervised learning by entropy for OpenMMLab: MEC, ER and MinEnt',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmentropy', 'mmentropy.*']),
    package_data={
        'mmentropy.datasets': ['imagenet100.txt'],
        'mmentropy.report': ['metrics.csv', 'page.html', 'script.js', 'style.css', 'uplot/*'],
    },
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require={
        name: requirements(name) for name in ('onedl', 'openmmlab', 'det', 'seg', 'tests')
    },
)
