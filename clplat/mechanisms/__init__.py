"""What several methods share: memories, teachers, routing. Pure torch, with no knowledge of a method."""
