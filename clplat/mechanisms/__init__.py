"""What several methods share: memories, teachers, weight space, routing. Pure torch, with no knowledge of a method."""
