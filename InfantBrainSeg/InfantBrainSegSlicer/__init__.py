"""Everything of InfantBrainSeg that knows 3D Slicer; the method itself is in InfantBrainSegLib."""
