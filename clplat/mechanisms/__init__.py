"""What several methods share: memories, teachers, weights, routing. Pure torch that knows no method."""
