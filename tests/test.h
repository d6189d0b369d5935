/* SPDX-License-Identifier: MIT
   The test runner's few macros. A test is a function; a failing check prints
   file, line and what it saw, and the test goes on. */
#ifndef TEST_H
#define TEST_H

#include "../atomdl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int test_failures; /* of the test that is running */

#define FAIL(...) \
    (test_failures++, printf("  %s:%d: ", __FILE__, __LINE__), \
     printf(__VA_ARGS__), printf("\n"))

#define CHECK(condition) \
    ((condition) ? (void)0 : (void)FAIL("%s", #condition))

/* |got - want| <= tolerance; the tolerance's reason stands beside it */
#define CHECK_NEAR(got, want, tolerance) \
    (fabs((double)(got) - (double)(want)) <= (double)(tolerance) \
         ? (void)0 \
         : (void)FAIL("%s = %.9g, want %.9g +- %.3g", #got, (double)(got), \
                      (double)(want), (double)(tolerance)))

/* the same bits */
#define CHECK_BITS(got, want) check_bits(__FILE__, __LINE__, #got, got, want)
void check_bits(const char *file, int line, const char *what, float got,
               float want);

/* the same n bytes; reports the first difference */
#define CHECK_BYTES(got, want, n) \
    check_bytes(__FILE__, __LINE__, #got, got, want, n)
void check_bytes(const char *file, int line, const char *what, const void *got,
                const void *want, size_t n);

/* an arena over malloc'ed memory, to be freed with free(arena.base) */
atomdl_arena new_arena(size_t bytes);

/* Every test: X(name). The order is the header's. */
#define TESTS(X) \
    X(float_environment) X(status_texts) X(arena) X(bytes) X(digests) \
    X(math_rounding) X(math_special) X(math_double) \
    X(square_root) X(reductions) X(kernels_exp) X(kernels_rows) \
    X(kernels_conv) \
    X(philox) X(rng_streams) X(rng_uniform) X(rng_below) X(rng_normal) \
    X(rng_poisson) X(sort) \
    X(image_new) X(image_crop) X(image_resize) X(image_normalise) \
    X(percentile) X(image_warp) X(image_refusals) X(image_blank) \
    X(arch_rules) X(arch_counts) X(arch_text) \
    X(weights) X(weights_hostile) X(checkpoint) \
    X(net_operators) X(net_random) X(net_extremes) X(net_refusals) \
    X(net_nan) X(net_memory) X(net_tall) X(net_rows) X(net_segment) \
    X(grad_operators) X(grad_losses) X(grad_networks) X(grad_random) \
    X(grad_variants) X(grad_ties) X(grad_images) X(grad_memory) \
    X(grad_refusals) \
    X(torch_networks) X(torch_training) \
    X(plan) X(init) X(losses) X(optimisers) X(metrics) \
    X(blobs_vectors) X(blobs_background) X(blobs_formulas) \
    X(blobs_overlap) X(blobs_peaks) X(blobs_floor) X(blobs_refine) \
    X(blobs_match) X(blobs_limits) X(blobs_sampling) \
    X(graph_rings) X(graph_parts) X(graph_silicon) X(graph_shared) \
    X(graph_site) X(graph_rotor) X(graph_behind) X(graph_rules) \
    X(graph_columns) X(graph_vacancies) \
    X(graph_measures) X(graph_merge) X(graph_limits) X(graph_large) \
    X(find_atoms) X(find_memory) X(find_bands) X(find_refusals) \
    X(find_ground) X(find_species) X(find_blank) X(find_unknown) \
    X(find_clipped) X(find_weights) X(find_pixel) \
    X(intensity_disc) X(intensity_mixture) X(intensity_perfect) \
    X(intensity_sheet) \
    X(structure_elements) X(structure_lattices) X(structure_user) \
    X(structure_chemistry) \
    X(structure_fill) X(structure_strain) X(structure_boundary) \
    X(structure_cut) X(structure_motifs) X(structure_angles) \
    X(structure_names) X(structure_draw) X(structure_marks) \
    X(structure_jitter) X(structure_repeat) X(structure_columns) \
    X(structure_refusals) X(structure_fractions) \
    X(structure_moves) X(structure_xyz) X(structure_hostile) \
    X(structure_labels) X(structure_stacking) X(structure_movie) \
    X(structure_rotor) X(structure_memory) \
    X(fft) X(optics) X(cross_sections) X(probe_widths) X(probe_centre) \
    X(image_phases) X(image_gaussian) X(contrast_graphene) \
    X(contrast_mos2) X(contrast_infinite) X(stacked_pairs) X(columns) \
    X(potential) X(multislice_beam) X(multislice_atom) X(multislice_sum) \
    X(scan) X(counting) X(detector) X(contamination) X(imaging_memory) \
    X(imaging_refusals) \
    X(recipe_keys) X(recipe_errors) X(recipe_hostile) X(recipe_draws) \
    X(sample_order) X(sample_carbon) X(sample_memory) X(sample_limits) \
    X(sample_truth) X(sample_movie) \
    X(io_npy) X(io_png_jpeg) X(io_bmp_pnm) X(io_tiff) X(io_tiff_refusals) \
    X(io_tiff_sides) \
    X(io_dm) X(io_mrc) X(io_ser) X(io_npy_stacks) X(io_strangers) \
    X(io_files) X(io_full) X(io_numbers) X(io_text) X(io_images_out) \
    X(io_png_colours) X(io_drawing) X(io_real) \
    X(movie_assign) X(movie_tracks) X(movie_gaps) X(movie_diffusion) \
    X(movie_hops) X(movie_dwells) X(movie_drift) X(movie_orient) \
    X(movie_phase) X(movie_first_frame) \
    X(movie_cut) X(movie_pca) X(movie_kmeans) X(movie_gmm) X(movie_ward) \
    X(movie_concentration) X(movie_markov) X(movie_hmm_exact) \
    X(movie_hmm_learn) X(movie_rotor) X(movie_film) X(movie_double) \
    X(movie_rules) X(movie_memory) X(movie_nothing)

#define DECLARE(name) void test_##name(void);
TESTS(DECLARE)

#endif
