"""Whether a run can begin with, or go on from, the checkpoint that its config names."""

from mmengine.runner import Runner

from mmentropy.compat.mmengine_checkpoint import handed_over
from mmentropy.distributed import unwrapped
from mmentropy.weights.backbone import first_difference, tensors_in
from mmentropy.weights.fit import require_fit


def check_initial_weights(runner: Runner) -> None:
    """Compare the model of a Runner with the checkpoint of its config.

    Nothing is checked if the config names none, or one that mmengine will download.

    Raises:
        ValueError: A run that resumes finds other keys or shapes than its model has, or no state of
            the optimiser; or one that begins with these weights finds next to nothing that fits.
    """
    path = runner.cfg.get('load_from')
    content = handed_over(path) if path else None
    if content is None:
        return
    if runner.cfg.get('resume') and 'optimizer' not in content:
        raise ValueError(
            f'{path} has no state of the optimiser, like all best checkpoints: resume from another '
            'one, or begin a new run from its weights with load_from, without --resume'
        )
    model = unwrapped(runner.model)
    state = content.get('state_dict', content)
    found = tensors_in(state) if isinstance(state, dict) else {}
    found = {key.removeprefix('module.'): value for key, value in found.items()}
    if not runner.cfg.get('resume'):
        require_fit(model, found, path)
    elif difference := first_difference(found, model.state_dict()):
        raise ValueError(
            f'{path} is of another network, in which {difference}: resume with the model that was '
            'trained, or begin a new run from its weights with load_from, without --resume'
        )
