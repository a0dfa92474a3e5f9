"""Recipes that train encoders with the losses and judge them.

`data` loads images, `augment` makes views of them, `sampler` says which come when and where, `workers` are
the processes that read them. `encoders` are the networks, `encoder_files` their files. `training` is the loop
that all recipes share, `checkpoint` its state on disk, and `pretraining` what they do before and after:
`two_view` and `moco` are the recipes. `evaluate` judges the `features` of an encoder by `linear_eval`,
`logistic` or `knn_eval`, whose result is a `scores.Scores`; `linear_checkpoint` has classifiers in the layout
of the reference. `encode` turns images into features, `published` are encoders of the authors, and
`imagenet_subset` links one. `demo` is small enough to watch.
"""
