"""What the user sees: widget, boxes and their words.

`widget.PanelWidget` is the only door.
"""
