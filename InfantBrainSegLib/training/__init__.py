"""Training: label maps, the simulator, losses and the trainer. Inference never imports it."""
