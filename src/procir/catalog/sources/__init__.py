"""Sources of products: what each kind of export offers to an import."""
