"""From cropped caption strips to the frame ranges that captions stand in."""
