"""Floor 4: learned unmasking policies; all of them can be imported from here."""

from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings
from unveil.policies.learned import Learned, Observation, Policy
from unveil.policies.policy import sampler_of
from unveil.policies.store import load_policy, locate_policy, save_policy, shipped_policies

__all__ = [
    "ConfidencePolicy", "ConfidenceSettings", "Learned", "Observation", "Policy", "load_policy", "locate_policy",
    "sampler_of", "save_policy", "shipped_policies",
]  # fmt: skip
