"""The formulas: tensors in, tensors out, of mathematics and torch alone.

Nothing here knows about modules, devices or ranks. Import a formula from the file of its family:
``coding`` (MEC, and the coding rates of its relatives), ``sphere`` and ``simplex`` (ER),
``minimum_entropy`` (MinEnt), ``matrix_entropy`` (FroSSL, I-VNE+, MMCR), ``covariance`` (VICReg),
``whitening`` (INTL), ``normality`` (LeJEPA), ``colour`` (CMC), and ``diagnostics``, which tell what
features are like.

A tensor of another type than float32 or float64 raises ``TypeError``; another shape, range or name
than is documented raises ``ValueError``. What is not finite in the arguments of a formula is not
finite in its result, unless it says that it clamps them: nothing looks for it, since the host would
have to wait for the device.
"""
