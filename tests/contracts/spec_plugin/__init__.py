"""Models and tasks of another distribution, one for each of what a spec can say beside symbols, vectors and images."""
