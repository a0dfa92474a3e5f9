"""Recipes that train encoders with the losses and judge them.

`data` loads images, `augment` makes views of them, `sampler` says which come when and where, `encoders` are the networks.
`training` is the loop that all recipes share and `checkpoint` its state on disk; `two_view` is a recipe, options to report.
`evaluate` judges an encoder by `linear_eval` and `knn_eval`, whose result is a `scores.Scores`. `demo` is small enough to watch.
"""
