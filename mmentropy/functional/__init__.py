"""The formulas: tensors in, tensors out, of mathematics and torch alone.

Nothing here knows about modules, devices or ranks. Import a formula from the
file of its family: ``coding`` (MEC), ``sphere`` and ``simplex`` (ER),
``minimum_entropy`` (MinEnt), and ``diagnostics``.
"""
