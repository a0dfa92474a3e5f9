"""Recipes: training and evaluating encoders with the losses, each part in its own place.

`data` loads images, `augment` makes views of them, `encoders` are the networks, `two_view` is the objective and the loop,
`knn_eval` and `linear_eval` judge the features, and `demo` puts them together on a data set that needs no download.
"""
