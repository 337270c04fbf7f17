"""Suites of measurements: ``snn4-agent bench SUITE``. Each is a module with the names of `suite.Suite`."""

SUITES = {
    "control": "Returns of lives in environments: classic control, Box2D, MinAtar, MuJoCo.",
    "classification": "Accuracy of classifiers of images and events.",
    "continual": "Strategies against forgetting, in streams of experiences.",
    "conversion": "Trained ANNs as spiking networks.",
    "distillation": "Classifiers and policies with a teacher, and without.",
    "evolution": "Evolving lives against hand-set genes and random search.",
    "drift": "Evolving lives in worlds that change, and the same lives without evolution.",
    "export": "Runs in Loihi's integers, beside float.",
    "speed": "Speed and memory beside snnTorch, Norse, SpikingJelly and SB3.",
}
"""What each suite measures, by name."""
