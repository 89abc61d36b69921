"""The clusters that DeepCluster learns to tell apart, assigned anew between epochs."""

from collections.abc import Iterator
from datetime import timedelta

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import broadcast, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import DATA_SAMPLERS, DATASETS, HOOKS
from torch import Tensor, nn
from torch.distributed import ProcessGroup, new_group

from mmentropy.checks.arguments import COUNT, SEVERAL, require
from mmentropy.distributed import unwrapped
from mmentropy.engine.random_state import random_state_kept
from mmentropy.evaluation import eval_datasets, extract_features
from mmentropy.models import DeepCluster

# The key in the message hub, and so in a checkpoint, of the labels.
STATE = 'clusters'
# How long other ranks wait for the one that clusters. NCCL's ten minutes may be too short.
PATIENCE = timedelta(hours=12)


@DATA_SAMPLERS.register_module()
class ClusterSampler(DefaultSampler):
    """Draw images, with replacement, such that all clusters are drawn alike.

    The arguments are those of ``DefaultSampler``. Until ``labels`` are set all images are drawn.
    """

    labels: Tensor | None = None

    def __iter__(self) -> Iterator[int]:
        if self.labels is None:
            return super().__iter__()
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        weights = 1 / torch.bincount(self.labels)[self.labels]
        drawn = torch.multinomial(weights, self.total_size, True, generator=generator)
        return iter(drawn[self.rank : self.total_size : self.world_size].tolist())


@HOOKS.register_module()
class ClusterHook(Hook):
    """Assign clusters to the training images, and give them to the model and the sampler.

    Before the first epoch and then every ``interval`` epochs the projections of the images of the
    config's ``eval_datasets.train``, which are those of training by a plain pipeline, are reduced
    by PCA, whitened, scaled to length 1 and clustered by k-means. The classifier is drawn anew and
    its momentum dropped. A checkpoint holds the labels, so that a resumed run goes on with them.

    Args:
        interval: The number of epochs between two assignments.
        components: What PCA leaves of the width of the projections, at most.

    Raises:
        ValueError: Before the first step, if an argument is wrong, the algorithm is another, or
            the images are not as many as in training.
    """

    _ranks: ProcessGroup | int | None = None

    def __init__(self, interval: int = 1, components: int = 256) -> None:
        require(COUNT, interval=interval)
        require(SEVERAL, components=components)
        self.interval = interval
        self.components = components

    def before_train(self, runner: Runner) -> None:
        if not isinstance(unwrapped(runner.model), DeepCluster):
            raise ValueError('ClusterHook works with model.type="DeepCluster" only')
        with random_state_kept():
            self.images = DATASETS.build(eval_datasets(runner.cfg)[0])
        rows = len(runner.train_dataloader.dataset)
        if len(self.images) != rows:
            raise ValueError(
                f'ClusterHook: eval_datasets.train has {len(self.images)} images, training {rows}: '
                'they must be the same'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        labels = runner.message_hub.get_info(STATE)
        begun = getattr(runner.train_loop, 'batches_done', 0) > 0
        if labels is None or runner.epoch % self.interval == 0 and not begun:
            old, labels = labels, self._clusters(runner, model)
            runner.message_hub.update_info(STATE, labels)
            model.head.reset(torch.Generator().manual_seed(runner.seed + runner.epoch))
            for parameter in model.head.parameters():
                runner.optim_wrapper.optimizer.state.pop(parameter, None)
            runner.logger.info(
                f'clusters before epoch {runner.epoch + 1}: {described(labels, old)}'
            )
        model.labels = labels
        if isinstance(runner.train_dataloader.sampler, ClusterSampler):
            runner.train_dataloader.sampler.labels = labels

    def _clusters(self, runner: Runner, model: DeepCluster) -> Tensor:
        """Return the cluster (N,) of each training image, the same on all ranks."""
        # It takes a second to import, and only this hook needs it.
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import normalize

        if get_world_size() > 1:
            # All ranks have to be there when it is made.
            self._ranks = self._ranks or new_group(timeout=PATIENCE, backend='gloo')
        encoder = nn.Sequential(model.backbone, model.neck)
        with random_state_kept():
            rows, _ = extract_features(encoder, self.images, model.data_preprocessor)
            labels = torch.zeros(len(rows), dtype=torch.int64)
            seed = runner.seed + runner.epoch
            if get_rank() == 0:
                components = min(self.components, *rows.shape)
                pca = PCA(components, whiten=True, random_state=seed)
                count = model.head.prototypes.out_features
                kmeans = KMeans(count, n_init=1, random_state=seed)
                found = kmeans.fit_predict(normalize(pca.fit_transform(rows.double().numpy())))
                labels = torch.from_numpy(found).long()
        broadcast(labels, group=self._ranks)
        return labels


def described(labels: Tensor, before: Tensor | None) -> str:
    """Return how even clusters are, and how much of the assignment before is left."""
    from sklearn.metrics import normalized_mutual_info_score

    sizes = torch.bincount(labels)
    text = f'{len(sizes)} of {int(sizes.min())} to {int(sizes.max())} images'
    if before is None:
        return text
    return f'{text}, NMI with those before {normalized_mutual_info_score(before, labels):.3f}'
