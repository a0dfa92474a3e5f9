"""Pictures on their way to an encoder: data sets, random views, and who reads which image when."""
