"""Every method of the paper's tables 1 and 2 as one network, one trainer and one set of outputs (docs/comparisons.md).

A method is a configuration: `configured(name, preset)` gives the `ModelConfig`, `build(config)` the network, and
`METHODS[name].without` the losses that are left out. Ablations are DisAsymNet with parts off. A comparison has a
classifier of its own in the place of AsyC, and no decoder: its `normal` and `abnormality` are None.
"""

from disasym.comparisons.methods import CLASSIFIERS, METHODS, Method, build, configured

__all__ = ["CLASSIFIERS", "METHODS", "Method", "build", "configured"]
