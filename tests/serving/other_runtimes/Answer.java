import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.tensorflow.Result;
import org.tensorflow.SavedModelBundle;
import org.tensorflow.SessionFunction;
import org.tensorflow.Tensor;
import org.tensorflow.ndarray.NdArray;
import org.tensorflow.ndarray.NdArrays;
import org.tensorflow.types.TFloat32;
import org.tensorflow.types.TInt32;
import org.tensorflow.types.TInt64;
import org.tensorflow.types.TString;

/**
 * Answers requests with a SavedModel, without Python: TensorFlow's C++ loader behind its Java API.
 *
 * <p>Arguments: folder of the SavedModel, file of requests. A request is a line SIGNATURE, then lines INPUT<tab>VALUES,
 * then an empty line; values are strings in base64, separated by commas. Written for each output, in order of names:
 * SIGNATURE<tab>OUTPUT<tab>SHAPE<tab>VALUES, or SIGNATURE<tab>error<tab><tab>MESSAGE.
 */
public final class Answer {
  private static TString strings(String values) {
    byte[][] decoded =
        Arrays.stream(values.split(",", -1)).map(Base64.getDecoder()::decode).toArray(byte[][]::new);
    NdArray<byte[]> vector = NdArrays.vectorOfObjects(decoded);
    return TString.tensorOfBytes(vector);
  }

  private static String values(Tensor tensor) {
    List<String> found = new ArrayList<>();
    if (tensor instanceof TFloat32 floats) {
      floats.scalars().forEach(value -> found.add(Float.toString(value.getFloat())));
    } else if (tensor instanceof TInt64 numbers) {
      numbers.scalars().forEach(value -> found.add(Long.toString(value.getLong())));
    } else if (tensor instanceof TInt32 numbers) {
      numbers.scalars().forEach(value -> found.add(Integer.toString(value.getInt())));
    } else if (tensor instanceof TString texts) {
      texts.asBytes().scalars().forEach(value -> found.add(Base64.getEncoder().encodeToString(value.getObject())));
    } else {
      throw new IllegalArgumentException("No value of this type was expected: " + tensor.dataType());
    }
    return String.join(",", found);
  }

  private static void answer(SavedModelBundle model, String signature, Map<String, Tensor> inputs) {
    SessionFunction function = model.function(signature);
    try (Result result = function.call(inputs)) {
      Map<String, Tensor> sorted = new TreeMap<>();
      result.forEach(entry -> sorted.put(entry.getKey(), entry.getValue()));
      sorted.forEach(
          (name, tensor) ->
              System.out.println(
                  String.join("\t", signature, name, Arrays.toString(tensor.shape().asArray()), values(tensor))));
    } catch (RuntimeException error) {
      System.out.println(String.join("\t", signature, "error", "", error.toString().replaceAll("\\s+", " ")));
    }
  }

  public static void main(String[] arguments) throws Exception {
    try (SavedModelBundle model = SavedModelBundle.load(arguments[0], "serve")) {
      String signature = null;
      Map<String, Tensor> inputs = new LinkedHashMap<>();
      for (String line : Files.readAllLines(Path.of(arguments[1]), StandardCharsets.UTF_8)) {
        if (line.isEmpty()) {
          answer(model, signature, inputs);
          inputs.values().forEach(Tensor::close);
          inputs.clear();
          signature = null;
        } else if (signature == null) {
          signature = line;
        } else {
          String[] parts = line.split("\t", 2);
          inputs.put(parts[0], strings(parts[1]));
        }
      }
    }
  }
}
