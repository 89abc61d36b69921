"""Where the files of the repository are, and a recipe for each way to read a data set."""

from pathlib import Path

from mmengine.config import Config

REPOSITORY = Path(__file__).parent.parent
RECIPES = dict(
    digits='mec/r18s_1xb64_50e_digits.py',
    fashion_mnist='mec/r18s_1xb128_6e_fashion_mnist.py',
    cifar10='minent/minent_r18_1xb128_1000e_cifar10.py',
    cifar10_simsiam='mec/r18_1xb1024_600e_cifar10.py',
    cifar100='minent/minent_r18_1xb128_1000e_cifar100.py',
    stl10='minent/minent_r18_1xb128_2000e_stl10.py',
    tiny_imagenet='minent/minent_r18_1xb128_1000e_tiny_imagenet.py',
    imagenet100='minent/minent_r18_1xb128_500e_imagenet100.py',
    imagenet='mec/r50_8xb128_100e_in1k.py',
    imagenet_byol='mec/paper_r50_8xb128_100e_in1k.py',
    imagenet_simclr='baselines/simclr_r50_16xb256_400e_in1k.py',
    imagenet_multicrop='mec/multicrop_r50_32xb128_800e_in1k.py',
    places365='mec/r50_8xb128_100e_places365.py',
    folder='mec/r50_1xb64_100e_folder.py',
)


def recipe_on(data: str) -> Config:
    """A recipe that reads these data, a name of ``RECIPES``."""
    return Config.fromfile(REPOSITORY / 'configs' / RECIPES[data])
