# Accuracy as the mean over the classes.
_base_ = 'r50_5000i.py'

val_evaluator = dict(
    _delete_=True, type='SingleLabelMetric', thrs=None, items=['recall'])
test_evaluator = val_evaluator
