"""How well the features of a frozen encoder tell classes apart: linear classifiers and nearest neighbours."""
