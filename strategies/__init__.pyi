# Written by `make check`; do not edit.

from strategies.baselines.cumulative import Cumulative as Cumulative
from strategies.baselines.frozen import Frozen as Frozen
from strategies.baselines.naive import Naive as Naive
from strategies.compatibility.backward_compatible import BackwardCompatible as BackwardCompatible
from strategies.distillation.distill import Distill as Distill
from strategies.distillation.dual_teacher import DualTeacher as DualTeacher
from strategies.distillation.reference_distill import ReferenceDistill as ReferenceDistill
from strategies.expansion.growing_prompt import GrowingPrompt as GrowingPrompt
from strategies.expansion.lora_per_domain import LoRAPerDomain as LoRAPerDomain
from strategies.gradients.agem import AGEM as AGEM
from strategies.gradients.gem import GEM as GEM
from strategies.gradients.gpm import GPM as GPM
from strategies.gradients.ogd import OGD as OGD
from strategies.regularisation.ewc import EWC as EWC
from strategies.regularisation.l2_anchor import L2Anchor as L2Anchor
from strategies.regularisation.mas import MAS as MAS
from strategies.regularisation.rwalk import RWalk as RWalk
from strategies.regularisation.si import SI as SI
from strategies.rehearsal.der import DER as DER
from strategies.rehearsal.replay import Replay as Replay
from strategies.weight_space.patch import Patch as Patch
from strategies.weight_space.task_arithmetic import TaskArithmetic as TaskArithmetic
from strategies.weight_space.ties import TIES as TIES
from strategies.weight_space.weight_average import WeightAverage as WeightAverage
