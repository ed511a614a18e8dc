"""What is wrong with a stream before anything is trained: pictures, copies, shortcuts, counts."""
