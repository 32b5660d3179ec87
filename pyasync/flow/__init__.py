from .collections import *
