"""Jobs that people launch from a form: each changes the catalogue as a command does, and ends within seconds.

What follows from the change, such as the next stage, is requested by the sensors as after a command.
"""
