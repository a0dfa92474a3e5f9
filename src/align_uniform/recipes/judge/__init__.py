"""The accuracy of a frozen encoder's features, by linear classifiers and by nearest neighbours."""
