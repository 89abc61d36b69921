"""Images as arXiv 2011.13377 measures them (linusericsson/ssl-transfer@416913f).

The short side is 224 pixels, and the centre is cropped. Images are BGR, as OpenMMLab loads
files: backbones turn the channels by `data_preprocessor.to_rgb`.
"""

load = [dict(type='CheckedLoadImageFromFile', imdecode_backend='pillow')]
crop = [
    dict(type='ResizeEdge', scale=224, edge='short', interpolation='bicubic', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
]
eval_pipeline = load + crop + [dict(type='PackInputs')]
