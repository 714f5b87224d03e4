"""The generated part of the documentation: `python -m testbed.reference` writes docs/reference.

Whatever stands in code is told from there: options of commands, keys of topologies, the API, the
shapes of JSON output. A test holds the files against what would be written now.
"""
