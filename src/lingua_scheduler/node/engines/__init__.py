"""Speech recognition, translation and speech output behind one seam each."""
