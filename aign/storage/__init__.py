"""One folder on disk or in an object store, for the library and for jobs; what its errors mean."""
