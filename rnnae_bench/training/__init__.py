"""How optimiser steps are done: many in one call of Lightning's, clipped, without its remarks, on freed memory."""
