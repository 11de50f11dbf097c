"""Fine-tuning methods behind one interface: their requirements, and hooks where they differ from plain fine-tuning."""

from dualselect.methods.a_gem import AGem
from dualselect.methods.constrained_sft import ConstrainedSft
from dualselect.methods.der import Der
from dualselect.methods.dualselect import VARIANTS, DualSelect
from dualselect.methods.ema import Ema
from dualselect.methods.er import Er
from dualselect.methods.ewc import Ewc
from dualselect.methods.fine_tune import fine_tune
from dualselect.methods.gem import Gem
from dualselect.methods.interpolation import Interpolation
from dualselect.methods.lisa import Lisa
from dualselect.methods.lwf import LwF
from dualselect.methods.method import Method, Run, Update
from dualselect.methods.mssr import Mssr
from dualselect.methods.o_lora import OLora
from dualselect.methods.oracle import Oracle
from dualselect.methods.osft import Osft
from dualselect.methods.random_rows import RandomRows
from dualselect.methods.safe_mix import SafeMix
from dualselect.methods.safegrad import SafeGrad
from dualselect.methods.sft import Sft, SftTuned


__all__ = ["METHODS", "DualSelect", "Method", "Run", "Update", "fine_tune"]

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Sft(),
        SftTuned(),
        Oracle(),
        RandomRows(),
        SafeMix(),
        AGem(),
        SafeGrad(),
        Ema(),
        Lisa(),
        ConstrainedSft(),
        Er(),
        Gem(),
        Der(),
        Der("der_pp", label_weight=0.5),
        Ewc(),
        LwF(),
        OLora(),
        Osft(),
        Mssr(),
        Interpolation(),
        *VARIANTS.values(),
    )
}
"""Every method by name, with its default settings; `dataclasses.replace` changes them."""
